"""A broker that hands out queues: the complete example of osbkit."""
