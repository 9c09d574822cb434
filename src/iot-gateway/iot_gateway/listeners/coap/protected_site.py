"""What is behind OSCORE: aiocoap's wrapper of a site, guarded."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# aiocoap is only partly typed.

from typing import Any

from aiocoap.numbers.codes import Code
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from iot_gateway.listeners.coap.security import is_of_a_request
from iot_gateway.listeners.coap.site import message


class ProtectedSite(OscoreSiteWrapper):
    """Opens requests, passes them on, and seals the answers; those that are not protected are passed on as they are."""

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer a request.

        One whose OSCORE option makes no sense would be an error of the gateway to aiocoap, with a traceback in the log.
        """
        option = pipe.request.opt.oscore
        if option is not None and not is_of_a_request(option):
            pipe.add_response(message(Code.BAD_OPTION), is_last=True)
            return
        await super().render_to_pipe(pipe)
