"""Simulators and measurements that fill cost tables: one a file, and one line in registries.SIMULATORS."""
