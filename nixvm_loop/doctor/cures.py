"""What `doctor --fix` does by itself: few things, each of them harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.doctor.patient import Patient
from nixvm_loop.doctor.probe import NotPossibleError, Remedy
from nixvm_loop.domain import networks
from nixvm_loop.errors import GuestError

if TYPE_CHECKING:
    from nixvm_loop.doctor.probe import Cure
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import GuestSettings

_REFRESH_TIMEOUT_S: Final = 10.0


async def apply(cure: Cure, settings: GuestSettings, clock: Clock) -> None:
    """Do it. Raises NixvmLoopError when it does not work."""
    patient = Patient(settings, clock)
    try:
        match cure.remedy:
            case Remedy.DROP_CACHES:
                await (await patient.connection()).refresh(_REFRESH_TIMEOUT_S)
            case Remedy.RESUME:
                await (await (await patient.hypervisor()).get(cure.target)).resume()
            case Remedy.START_NETWORK:
                await networks.start(await patient.hypervisor(), cure.target)
    except NotPossibleError as error:
        raise GuestError(f"{cure}: {error}") from error
    finally:
        await patient.close()
