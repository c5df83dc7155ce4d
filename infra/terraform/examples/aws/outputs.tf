output "params" {
  description = "Sections for params.yaml: terraform output -raw params"
  value       = module.fleet.params
}

output "environment" {
  description = "Lines of object-storage.env: terraform output -raw environment"
  value       = join("\n", [for name, value in module.fleet.environment : "${name}=${value}"])
}

output "secrets" {
  description = "Variables for the cluster's secrets, with a password's name where it belongs."
  value       = module.fleet.secrets
}

output "dvc_remote" {
  description = "For `dvc remote add --default`."
  value       = module.fleet.dvc_remote
}

output "backups" {
  description = "URL of the folder for backups."
  value       = module.fleet.backups
}

output "buckets" {
  description = "Name of each bucket by its purpose."
  value       = module.fleet.buckets
}

output "database" {
  description = "Address of the database, and where its master password is."
  value       = module.fleet.database
}

output "role_arns" {
  description = "ARN of each part's role."
  value       = module.fleet.role_arns
}
