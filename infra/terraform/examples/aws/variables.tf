variable "region" {
  description = "Region of all that is made."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: wanted a region of AWS, such as eu-central-1."
  }
}

variable "name" {
  description = "Begins the names of all that is made."
  type        = string
  default     = "prefixfleet"
}

variable "existing" {
  description = "A cluster and its network that are there. null: both are made."
  type = object({
    cluster_name           = string
    node_security_group_id = string
    vpc_id                 = string
    database_subnet_ids    = list(string)
  })
  default = null
}

variable "availability_zones" {
  description = "Zones of the network that is made. Choose zones that have the instance types of the nodes with GPUs."
  type        = list(string)
  default     = []

  validation {
    condition     = var.existing != null || (length(var.availability_zones) >= 2 && length(var.availability_zones) <= 6)
    error_message = "availability_zones: wanted 2 to 6 zones, such as [\"eu-central-1a\", \"eu-central-1b\"], as `existing` names no network."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) <= 16, false)
    error_message = "vpc_cidr: wanted a block of 16 bits or fewer, such as 10.40.0.0/16: every pod takes an address."
  }
}

variable "api_cidrs" {
  description = "Addresses from which Kubernetes' API is reached over the internet. Empty: only from within the VPC."
  type        = list(string)
  default     = []
}

variable "gpu_instance_types" {
  description = "Instance types of the nodes with GPUs."
  type        = list(string)
  default     = ["g6.2xlarge"]
}

variable "gpu_maximum_nodes" {
  description = "Most nodes with GPUs at the same time."
  type        = number
  default     = 8
}

variable "gpu_spot" {
  description = "Whether the nodes with GPUs are spot instances."
  type        = bool
  default     = false
}

variable "vllm_engines" {
  description = "Whether the gateway asks vLLM engines."
  type        = bool
  default     = false
}

variable "base_folder" {
  description = "Folder in the bucket for bases from which the job base-model copies the base."
  type        = string
  default     = "base"
}

variable "ci" {
  description = "Who may read the DVC remote as CI. null: nobody."
  type = object({
    oidc_provider_arn = string
    audience          = optional(string, "sts.amazonaws.com")
    subjects          = list(string)
  })
  default = null
}
