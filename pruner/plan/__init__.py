"""Planning: inventory + policies -> a plan file, through guards. Nothing here can delete."""
