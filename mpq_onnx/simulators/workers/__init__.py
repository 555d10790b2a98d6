"""Scripts that run in the environments of simulators: a job on stdin, answers on stdout, nothing of this package imported."""
