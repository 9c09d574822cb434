"""What is behind OSCORE: aiocoap's wrapper of a site, guarded."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# aiocoap is only partly typed.

from typing import Any, Final

from aiocoap.numbers.codes import Code
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from iot_gateway.listeners.coap.security import is_of_a_request
from iot_gateway.listeners.coap.site import message

NO_RESPONSE: Final = 26
"""No answer of whatever class is sent (RFC 7967)."""


class _Watched:
    """A pipe that tells whether a request was answered."""

    def __init__(self, pipe: Any):
        self.request = pipe.request
        self.answered = False
        self._pipe = pipe

    def add_response(self, response: Any, is_last: bool = False) -> None:
        """Pass an answer on."""
        self.answered |= is_last
        self._pipe.add_response(response, is_last=is_last)


class ProtectedSite(OscoreSiteWrapper):
    """Opens requests, passes them on, and seals the answers; those that are not protected are passed on as they are."""

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer a request.

        One whose OSCORE option makes no sense would be an error of the gateway to aiocoap, with a traceback in the log;
        and one that it does not answer, since it is non-confirmable, would be kept for ever.
        """
        option = pipe.request.opt.oscore
        if option is not None and not is_of_a_request(option):
            pipe.add_response(message(Code.BAD_OPTION), is_last=True)
            return
        watched: Any = _Watched(pipe)
        await super().render_to_pipe(watched)
        if not watched.answered:
            unsent: Any = message(Code.UNAUTHORIZED)
            unsent.opt.no_response = NO_RESPONSE
            pipe.add_response(unsent, is_last=True)
