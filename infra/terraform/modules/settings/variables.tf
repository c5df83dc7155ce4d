variable "buckets" {
  description = "Name of each bucket by its purpose."
  type = object({
    dvc      = string
    mlflow   = string
    exchange = string
    backups  = string
    engines  = string
    bases    = string
  })
}

variable "region" {
  description = "Region of the buckets."
  type        = string
}

variable "database_address" {
  description = "Host name of PostgreSQL."
  type        = string
}

variable "database_port" {
  description = "Port of PostgreSQL."
  type        = number
  default     = 5432
}

variable "workers_keep_days" {
  description = "workers.keep_days of params.yaml."
  type        = number
}

variable "vllm_engines" {
  description = "Whether the gateway asks vLLM engines."
  type        = bool
  default     = false
}

variable "base_folder" {
  description = "Folder of the base in the bucket for bases."
  type        = string
}
