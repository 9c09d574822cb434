"""The option ``plain_topics``: what it becomes, and how a mistake in it is told of."""

import pytest
from fakes import BROKER_SECRET, Machine, amqp
from ops.testing import ActiveStatus, BlockedStatus, Context, State

import plain_rules
from charm import GatewayCharm
from iot_gateway.config import PlainConfig, RelayConfig
from iot_gateway.shapes import ShapeError

Gateway = Context[GatewayCharm]

RULES = """
- topic: telemetry/+/temperature
  format: number
  units: {temperature: Cel}
- {topic: 'telemetry/meter/#', format: json, sensor: '{3}', time: at}
"""


def configured(context: Gateway, text: str) -> State:
    relation = amqp()
    state = State(relations={relation}, secrets={BROKER_SECRET}, config={"plain_topics": text})
    return context.run(context.on.config_changed(), state)


def test_the_rules_reach_the_relay(context: Gateway, machine: Machine):
    assert isinstance(configured(context, RULES).unit_status, ActiveStatus)
    assert machine.relay_settings is not None
    assert machine.relay_settings.plain == (
        PlainConfig(topic="telemetry/+/temperature", format="number", units={"temperature": "Cel"}),
        PlainConfig(topic="telemetry/meter/#", format="json", sensor="{3}", time="at"),
    )
    assert isinstance(configured(context, "# none yet").unit_status, ActiveStatus)
    assert machine.relay_settings.plain == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {", "plain_topics is no YAML: while parsing a flow"),
        ("telemetry/a", "plain_topics='telemetry/a': must be a list of rules, such as '- {topic: "),
        ("- telemetry/a", "plain_topics, rule 1: 'telemetry/a': must be a mapping, such as {topic: "),
        ("- {format: number}", "plain_topics, rule 1: topic is missing: a topic, or a filter with + "),
        ("- {topic: a}", "plain_topics, rule 1: format is missing: number, text or json"),
        (
            "- {topic: a, format: number}\n- {topic: a, format: int}",
            "plain_topics, rule 2: format='int': must be number",
        ),
        ("- {topic: a#, format: number}", "plain_topics, rule 1: topic='a#': must be a topic, or a filter"),
        ("- {topic: a, format: number, unit: V}", "plain_topics, rule 1: unit='V': no rule has that; topic, format, "),
        ("- {topic: a, format: json, units: {on: 1}}", "plain_topics, rule 1: units={True: 1}: must be a mapping of"),
        ("- {topic: a, format: json, sensor: -}", "plain_topics, rule 1: sensor='-': must be letters, digits"),
        ("- {topic: a, format: json, time: 5}", "plain_topics, rule 1: time=5: must be the name in the JSON object"),
        ("- {topic: a, format: " + 80 * "x" + "}", f"plain_topics, rule 1: format='{59 * 'x'}...: must be"),
        ("- {topic: a, format: number}\n" * 101, "plain_topics has 101 rules: 100 at most"),
    ],
)
def test_a_mistake_is_named_with_what_helps(context: Gateway, machine: Machine, text: str, message: str):
    out = configured(context, text)
    assert isinstance(out.unit_status, BlockedStatus)
    assert out.unit_status.message.startswith(message)
    assert machine.relay_settings is None


def test_the_relay_takes_as_many_rules():
    rules = [{"topic": "a", "format": "number"}] * plain_rules.MAX_RULES
    content = {"site": "s", "gateway": "g", "listeners": {"mqtt": {}}, "uplink": {}}
    RelayConfig.read({**content, "plain": rules})
    with pytest.raises(ShapeError, match="plain"):
        RelayConfig.read({**content, "plain": [*rules, rules[0]]})
