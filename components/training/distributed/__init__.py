"""Training by several processes of one machine: a coordinator and its workers."""
