"""The steps that both dvc.yaml's stages and Prefect's tasks call: plan, train, evaluate, gate, register."""
