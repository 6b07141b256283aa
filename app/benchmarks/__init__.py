"""What ``fit3d bench`` measures: each table row in a process of its own, so that its peak memory is its own."""
