"""What runs on a node: the kubelet with its spawner and pods, and, apart from it, the service proxy."""
