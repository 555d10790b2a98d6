"""Work on other processes and machines, by dask.distributed, which is loaded where a cluster is opened and not before."""
