"""Lending protocols, pure: one folder each, all with the same file names, none knowing another."""
