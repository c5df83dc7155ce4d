variable "name" {
  description = "Begins the names of all that is made. A bucket is named NAME-ACCOUNT-PURPOSE."
  type        = string
  default     = "prefixfleet"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name: wanted 3 to 32 lower-case letters, digits and single hyphens, beginning with a letter; it begins the names of buckets."
  }
}

variable "tags" {
  description = "Tags of all that is made."
  type        = map(string)
  default     = {}
}

variable "vpc_id" {
  description = "VPC of the database."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id: wanted the id of a VPC, such as vpc-0a1b2c3d."
  }
}

variable "database_subnet_ids" {
  description = "Private subnets of the database, in at least two availability zones."
  type        = list(string)

  validation {
    condition     = length(var.database_subnet_ids) >= 2
    error_message = "database_subnet_ids: wanted at least two subnets, in different availability zones; RDS demands it."
  }
}

variable "database_client_security_groups" {
  description = "Name -> id of each security group that may reach the database, such as that of the cluster's nodes."
  type        = map(string)

  validation {
    condition     = length(var.database_client_security_groups) > 0
    error_message = "database_client_security_groups: wanted at least one, such as { nodes = \"sg-0a1b2c3d\" }; without it nobody reaches the database."
  }
}

variable "database_instance_class" {
  description = "Instance class of the database."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = startswith(var.database_instance_class, "db.")
    error_message = "database_instance_class: wanted a class of RDS, such as db.t4g.medium."
  }
}

variable "database_storage_gb" {
  description = "Size of the database's storage at the start, and the size up to which RDS enlarges it, in GiB."
  type = object({
    initial = number
    maximum = number
  })
  default = { initial = 50, maximum = 200 }

  validation {
    condition     = var.database_storage_gb.initial >= 20 && var.database_storage_gb.maximum > var.database_storage_gb.initial
    error_message = "database_storage_gb: wanted initial of 20 or more, and a maximum above it."
  }
}

variable "database_multi_az" {
  description = "Whether a standby in another availability zone takes over. Doubles the price."
  type        = bool
  default     = true
}

variable "database_backup_days" {
  description = "Days for which RDS can restore the database to any moment."
  type        = number
  default     = 14

  validation {
    condition     = var.database_backup_days >= 1 && var.database_backup_days <= 35
    error_message = "database_backup_days: wanted 1 to 35; 0 would switch backups off."
  }
}

variable "database_deletion_protection" {
  description = "Whether the database cannot be deleted. To delete it, apply with false first."
  type        = bool
  default     = true
}

variable "workers_keep_days" {
  description = "workers.keep_days of params.yaml: days after which the parent removes files of ended runs from the exchange. The bucket removes what is a day older."
  type        = number
  default     = 3

  validation {
    condition     = var.workers_keep_days >= 1 && var.workers_keep_days <= 90
    error_message = "workers_keep_days: wanted 1 to 90 days; with less, the bucket would remove what running shards still need."
  }
}

variable "noncurrent_days" {
  description = "Days for which replaced and deleted objects can still be brought back, in the buckets for data, versions, bases and backups. So long also stay the files of a tenant that was forgotten."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days: wanted 1 or more."
  }
}

variable "access_log_days" {
  description = "Days for which the buckets' access logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = var.access_log_days >= 1
    error_message = "access_log_days: wanted 1 or more."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster in this account and region whose pods get the roles. It needs the add-on eks-pod-identity-agent."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name: wanted the name of an EKS cluster, not its ARN."
  }
}

variable "namespace" {
  description = "Namespace of the fleet in the cluster."
  type        = string
  default     = "prefixfleet"
}

variable "autoscaler" {
  description = "Whether to make a role for the cluster autoscaler (service account cluster-autoscaler in kube-system)."
  type        = bool
  default     = true
}

variable "ci" {
  description = "Who may read the DVC remote as CI: ARN of the account's OIDC provider, audience and subjects of its tokens. null: no such role."
  type = object({
    oidc_provider_arn = string
    audience          = optional(string, "sts.amazonaws.com")
    subjects          = list(string)
  })
  default = null

  validation {
    condition     = var.ci == null || can(regex("^arn:[^:]+:iam::[0-9]{12}:oidc-provider/.+$", var.ci.oidc_provider_arn))
    error_message = "ci.oidc_provider_arn: wanted an ARN such as arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com."
  }

  validation {
    condition     = var.ci == null || try(length(var.ci.subjects) > 0 && !anytrue([for each in var.ci.subjects : can(regex("^(repo:)?[*?]", each))]), false)
    error_message = "ci.subjects: wanted the subjects of your repository's tokens, such as repo:ORGANISATION/REPOSITORY:ref:refs/heads/main; * would let in every repository."
  }
}

variable "vllm_engines" {
  description = "Whether the gateway asks vLLM engines; adds their store of artifacts to the settings."
  type        = bool
  default     = false
}

variable "base_folder" {
  description = "Folder in the bucket for bases from which the job base-model copies the base."
  type        = string
  default     = "base"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$", var.base_folder))
    error_message = "base_folder: wanted a folder's name without a slash at its ends, such as llama or models/llama."
  }
}
