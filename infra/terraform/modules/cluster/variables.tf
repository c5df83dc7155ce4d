variable "name" {
  description = "Name of the cluster."
  type        = string
  default     = "prefixfleet"

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$", var.name))
    error_message = "name: wanted 1 to 100 letters, digits, hyphens and underscores."
  }
}

variable "kubernetes_version" {
  description = "Version of Kubernetes."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version: wanted a version such as 1.34."
  }
}

variable "vpc_id" {
  description = "VPC of the nodes."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id: wanted the id of a VPC, such as vpc-0a1b2c3d."
  }
}

variable "subnet_ids" {
  description = "Private subnets of the nodes, in at least two availability zones, with a way to the internet or to endpoints of ECR, EKS, EC2, STS and S3."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids: wanted at least two subnets, in different availability zones; EKS demands it."
  }
}

variable "api_cidrs" {
  description = "Addresses from which Kubernetes' API is reached over the internet. Empty: only from within the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.api_cidrs : can(cidrhost(each, 0)) && each != "0.0.0.0/0"])
    error_message = "api_cidrs: wanted blocks such as 203.0.113.0/24; 0.0.0.0/0 would open the API to everybody."
  }
}

variable "service_instance_types" {
  description = "Instance types of the nodes for gateway, flows, MLflow, Prefect and console."
  type        = list(string)
  default     = ["m7i.2xlarge"]
}

variable "service_nodes" {
  description = "Least and most nodes for the services."
  type = object({
    minimum = number
    maximum = number
  })
  default = { minimum = 2, maximum = 6 }

  validation {
    condition     = var.service_nodes.minimum >= 1 && var.service_nodes.maximum >= var.service_nodes.minimum
    error_message = "service_nodes: wanted a minimum of 1 or more, and a maximum that is not below it."
  }
}

variable "gpu_instance_types" {
  description = "Instance types of the nodes with GPUs, all with the same number of GPUs."
  type        = list(string)
  default     = ["g6.2xlarge"]

  validation {
    condition     = length(var.gpu_instance_types) > 0
    error_message = "gpu_instance_types: wanted at least one type, such as g6.2xlarge."
  }
}

variable "gpu_maximum_nodes" {
  description = "Most nodes with GPUs at the same time; set-concurrency-limit of the work pool must not exceed their GPUs."
  type        = number
  default     = 8

  validation {
    condition     = var.gpu_maximum_nodes >= 1
    error_message = "gpu_maximum_nodes: wanted 1 or more."
  }
}

variable "gpu_spot" {
  description = "Whether the nodes with GPUs are spot instances. A shard whose node is taken away saves its state and goes on elsewhere."
  type        = bool
  default     = false
}

variable "gpu_disk_gb" {
  description = "Disk of a node with GPUs, in GiB: the image, and `scratch` of each pod."
  type        = number
  default     = 100

  validation {
    condition     = var.gpu_disk_gb >= 50
    error_message = "gpu_disk_gb: wanted 50 or more; the image with CUDA and a shard's files need it."
  }
}

variable "tags" {
  description = "Tags of all that is made."
  type        = map(string)
  default     = {}
}
