# An EKS cluster for a fleet: nodes for the services, and nodes with GPUs that are there only while shards run. Use
# another cluster instead if you have one; then give its GPU nodes the label and taint below.

module "eks" {
  #checkov:skip=CKV_TF_1:The registry's modules are pinned by version; releases of this one are not changed.
  source  = "terraform-aws-modules/eks/aws"
  version = "21.3.2"

  name               = var.name
  kubernetes_version = var.kubernetes_version
  vpc_id             = var.vpc_id
  subnet_ids         = var.subnet_ids
  tags               = var.tags

  endpoint_private_access                  = true
  endpoint_public_access                   = length(var.api_cidrs) > 0
  endpoint_public_access_cidrs             = var.api_cidrs
  enable_cluster_creator_admin_permissions = true
  enabled_log_types                        = ["api", "audit", "authenticator"]
  # Roles come by EKS Pod Identity.
  enable_irsa = false

  addons = {
    coredns                = {}
    kube-proxy             = {}
    eks-pod-identity-agent = { before_compute = true }
    vpc-cni = {
      before_compute = true
      # Without it the fleet's NetworkPolicies would do nothing.
      configuration_values = jsonencode({ enableNetworkPolicy = "true" })
    }
  }

  eks_managed_node_groups = {
    services = {
      ami_type       = "AL2023_x86_64_STANDARD"
      instance_types = var.service_instance_types
      min_size       = var.service_nodes.minimum
      max_size       = var.service_nodes.maximum
      desired_size   = var.service_nodes.minimum
    }

    gpu = {
      ami_type       = "AL2023_x86_64_NVIDIA"
      instance_types = var.gpu_instance_types
      capacity_type  = var.gpu_spot ? "SPOT" : "ON_DEMAND"
      min_size       = 0
      max_size       = var.gpu_maximum_nodes
      desired_size   = 0

      # What infra/kubernetes/gpu-work-pool.json selects and tolerates. The autoscaler reads both from EKS while the
      # group has no node.
      labels = { "nvidia.com/gpu.present" = "true" }
      taints = {
        gpu = { key = "nvidia.com/gpu", value = "true", effect = "NO_SCHEDULE" }
      }

      # For the image, the tenants' data and the results of a shard.
      block_device_mappings = {
        root = {
          device_name = "/dev/xvda"
          ebs = {
            volume_size           = var.gpu_disk_gb
            volume_type           = "gp3"
            encrypted             = true
            delete_on_termination = true
          }
        }
      }
    }
  }
}
