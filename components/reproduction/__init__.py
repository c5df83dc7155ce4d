"""The paper's experiments as commands: protocols, presets, resumable cells, tables and figures. Knows no registry."""
