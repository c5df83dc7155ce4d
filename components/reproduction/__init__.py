"""The paper's experiments as commands: protocols, presets, cells that resume, tables and figures. Knows no registry."""
