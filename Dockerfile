# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# SQLite and mimalloc are compiled from their C sources.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG DEBROS_BUILD_COMMIT=""
ARG DEBROS_BUILD_TIME=""
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/debros /out/debros && install -d -m 700 /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="debros" \
      org.opencontainers.image.description="Replicated SQLite, key-value, pub/sub and an HTTP gateway in one binary" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/debros /usr/bin/debros
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
# Every interface of the container; what of it is reachable is decided by publishing the ports.
ENV DEBROS_NODE__DATA_DIR=/data \
    DEBROS_DATABASE__SQL_ADDR=0.0.0.0:5001 \
    DEBROS_GATEWAY__LISTEN_ADDR=0.0.0.0:6001
# Peers, SQL, gateway.
EXPOSE 4001 5001 6001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["/usr/bin/debros", "health", "--data-dir", "/data", "--quiet"]
# The first container runs `bootstrap`; the others `node`, with the token in DEBROS_JOIN.
ENTRYPOINT ["/usr/bin/debros"]
CMD ["node"]
