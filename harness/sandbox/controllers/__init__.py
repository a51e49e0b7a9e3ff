"""What keeps the cluster as its objects say: the scheduler and the controllers, all on the `Api` protocol."""
