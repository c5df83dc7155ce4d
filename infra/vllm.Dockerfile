# vLLM's own image for GPUs with the plugin of integrations/vllm. From the repository's top, with the release of vLLM that
# the plugin names (integrations/vllm/pyproject.toml) and the digest of its image:
#     docker build -f infra/vllm.Dockerfile --build-arg VLLM_IMAGE=vllm/vllm-openai:v0.32.0@sha256:DIGEST \
#         -t prefixfleet-vllm:0.1.0 integrations/vllm

ARG VLLM_IMAGE
FROM ${VLLM_IMAGE}
COPY pyproject.toml README.md /build/
COPY prefixfleet_vllm /build/prefixfleet_vllm
RUN python3 -m pip install --no-cache-dir '/build[gpu,s3]' \
    && rm -rf /build \
    && groupadd --gid 10001 prefixfleet \
    && useradd --uid 10001 --gid 10001 --create-home prefixfleet
ENV DO_NOT_TRACK=true
USER 10001:10001
ENTRYPOINT []
CMD ["python3", "-m", "vllm.entrypoints.openai.api_server", "--help"]
