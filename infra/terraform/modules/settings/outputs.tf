output "params" {
  description = "Sections for params.yaml, as YAML."
  value       = yamlencode(local.params)
}

output "environment" {
  description = "Environment variables without secrets."
  value       = local.environment
}

output "secrets" {
  description = "Environment variables with passwords, which stand as <NAME>: put the password there, URL-encoded."
  value       = local.secrets
}

output "dvc_remote" {
  description = "URL for `dvc remote add --default`."
  value       = "s3://${var.buckets.dvc}"
}

output "backups" {
  description = "URL of the folder for backups."
  value       = "s3://${var.buckets.backups}/fleet"
}
