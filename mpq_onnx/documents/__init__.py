"""The project's JSON documents: typed models, from which their JSON schemas are generated; a kind is one class."""
