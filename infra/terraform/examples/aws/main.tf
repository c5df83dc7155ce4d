# A fleet on AWS: network, EKS cluster, buckets, PostgreSQL and roles. With `existing` in place of the first two, only
# the rest is made.

locals {
  makes = var.existing == null ? 1 : 0

  network = var.existing != null ? {
    vpc_id              = var.existing.vpc_id
    database_subnet_ids = var.existing.database_subnet_ids
    } : {
    vpc_id              = module.vpc[0].vpc_id
    database_subnet_ids = module.vpc[0].database_subnets
  }
}

module "vpc" {
  #checkov:skip=CKV_TF_1:The registry's modules are pinned by version; releases of this one are not changed.
  source  = "terraform-aws-modules/vpc/aws"
  version = "6.0.1"
  count   = local.makes

  name = var.name
  cidr = var.vpc_cidr
  azs  = var.availability_zones

  private_subnets  = [for index in range(length(var.availability_zones)) : cidrsubnet(var.vpc_cidr, 4, index)]
  public_subnets   = [for index in range(length(var.availability_zones)) : cidrsubnet(var.vpc_cidr, 8, 128 + index)]
  database_subnets = [for index in range(length(var.availability_zones)) : cidrsubnet(var.vpc_cidr, 8, 136 + index)]

  create_database_subnet_group = false
  enable_nat_gateway           = true
  one_nat_gateway_per_az       = true
  enable_flow_log              = true

  create_flow_log_cloudwatch_iam_role             = true
  create_flow_log_cloudwatch_log_group            = true
  flow_log_cloudwatch_log_group_retention_in_days = 365

  public_subnet_tags  = { "kubernetes.io/role/elb" = "1" }
  private_subnet_tags = { "kubernetes.io/role/internal-elb" = "1" }
}

# Traffic to the buckets stays in the VPC and costs nothing at the NAT gateways.
resource "aws_vpc_endpoint" "s3" {
  count = local.makes

  vpc_id            = module.vpc[0].vpc_id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = module.vpc[0].private_route_table_ids
}

module "cluster" {
  source = "../../modules/cluster"
  count  = local.makes

  name               = var.name
  vpc_id             = module.vpc[0].vpc_id
  subnet_ids         = module.vpc[0].private_subnets
  api_cidrs          = var.api_cidrs
  gpu_instance_types = var.gpu_instance_types
  gpu_maximum_nodes  = var.gpu_maximum_nodes
  gpu_spot           = var.gpu_spot
}

module "fleet" {
  source = "../../modules/prefixfleet"

  name                = var.name
  vpc_id              = local.network.vpc_id
  database_subnet_ids = local.network.database_subnet_ids
  database_client_security_groups = {
    nodes = var.existing != null ? var.existing.node_security_group_id : module.cluster[0].node_security_group_id
  }
  cluster_name = var.existing != null ? var.existing.cluster_name : module.cluster[0].name
  vllm_engines = var.vllm_engines
  base_folder  = var.base_folder
  ci           = var.ci
  # A cluster that was there has an autoscaler of its own, or none.
  autoscaler = var.existing == null
}
