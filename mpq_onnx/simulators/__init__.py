"""Simulators and measurements that fill cost tables: one a file."""
