"""Pure values and decisions: no I/O, no clock, no logging. Every other room may import this one."""
