"""The reference world: a control plane, nodes and pods as real processes on loopback."""
