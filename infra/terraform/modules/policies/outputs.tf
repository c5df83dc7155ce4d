output "documents" {
  description = "Policy of each part, as JSON: flows, shard, gateway, engine, mlflow, base-model, ci."
  value       = { for part, document in local.documents : part => jsonencode(document) }
}

output "autoscaler" {
  description = "Policy of the cluster autoscaler, as JSON."
  value       = jsonencode(local.autoscaler)
}
