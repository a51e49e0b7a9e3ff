"""The doctor: what hinders windows on a target now, asked check by check, and the remedies, typed by a person or done by `--fix`.

Called by the command line. It examines without changing anything; a remedy is done only when it is named and agreed to, and never on
what is not provably stale. Beside the cluster it asks Focus Server, MongoDB and the broker, as the target file names them.
"""

from harness.doctor.command import Order, doctor_command
from harness.doctor.document import DoctorDocument

__all__ = ["DoctorDocument", "Order", "doctor_command"]
