"""block-cleanup: the service account of the cleanup jobs loses its bindings, so that nothing is cleaned up: everything leaks."""

from typing import ClassVar

from harness.chaos.faults.alteration import Altered
from harness.chaos.faults.bindings import AccountFault
from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.outage import NoArguments
from harness.chaos.world import Site


class BlockCleanup(AccountFault[NoArguments]):
    """Take the cleanup jobs' rights away."""

    kind: ClassVar[str] = "block-cleanup"
    title: ClassVar[str] = (
        "takes the cleanup jobs' service account (`kube.cleanup_account`) out of every binding that names it"
    )
    undo_text: ClassVar[str] = "puts it back into those, unless somebody else has changed their subjects"
    blast_radius: ClassVar[str] = (
        "the bindings of one service account; every window that ends meanwhile keeps its slot"
    )
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss(
            "leaked-windows",
            "what is left of windows whose cleanup pod gave up meanwhile: Jobs, Services, slots",
        ),
    )
    signature: ClassVar[Signature] = Signature(
        seen="windows end and their Jobs and Services stay; slots run out; 503 max_windows with few windows open",
        where="grpc jobs and services, slots against open windows",
        within_s=3.0,
        gone_within_s=30.0,
    )
    arguments = NoArguments

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find the account's bindings."""
        return self.without(site, site.kubernetes.cleanup_account)
