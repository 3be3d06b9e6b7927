"""What a service's author writes, and the services that come with osbkit."""
