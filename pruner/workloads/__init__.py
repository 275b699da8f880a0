"""What uses which images: Kubernetes clusters, and files of references. Only reads."""
