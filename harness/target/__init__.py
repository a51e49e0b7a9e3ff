"""What a campaign is played against: a target file names URL, identity, roles and limits.

Experiments and watchers name roles; only a target file knows what a role is called on its cluster.
"""

from harness.target.load import find_target, load_target
from harness.target.model import Budget, Kubernetes, Role, RoleName, Target

__all__ = ["Budget", "Kubernetes", "Role", "RoleName", "Target", "find_target", "load_target"]
