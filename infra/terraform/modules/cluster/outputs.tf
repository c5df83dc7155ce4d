output "name" {
  description = "Name of the cluster; known once it and its add-ons exist."
  value       = module.eks.cluster_name
}

output "node_security_group_id" {
  description = "Security group of the nodes."
  value       = module.eks.node_security_group_id
}
