# Slipway itself. docs/production.md says how to run it; in short:
#
#   docker build -t slipway .
#   docker run -d --name slipway --network host -v slipway:/data \
#     -v /var/run/docker.sock:/var/run/docker.sock --group-add "$(stat -c %g /var/run/docker.sock)" slipway
#
# The Docker socket is as good as root on its host: give it only to a Slipway that builds or runs apps there.

ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS fonts
WORKDIR /src/static
COPY static/package.json static/package-lock.json static/.npmrc ./
RUN npm ci --omit=dev

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
COPY --from=fonts /src/static/node_modules/@fontsource-variable/geist/files/geist-latin-wght-normal.woff2 static/fonts/geist.woff2
COPY --from=fonts /src/static/node_modules/@fontsource-variable/geist-mono/files/geist-mono-latin-wght-normal.woff2 static/fonts/geist-mono.woff2
COPY --from=fonts /src/static/node_modules/@fontsource-variable/geist/LICENSE static/fonts/OFL.txt
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -tags disable_grpc_modules -ldflags='-s -w' -o /out/slipway ./cmd/slipway

FROM ${RUNTIME_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl git openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --home-dir /data --shell /usr/sbin/nologin slipway \
 && install -d -o slipway -g slipway -m 700 /data
COPY --from=build /out/slipway /usr/local/bin/slipway
USER slipway
ENV SLIPWAY_DATA=/data \
    SLIPWAY_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["slipway"]
CMD ["serve"]
