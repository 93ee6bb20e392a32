# The image holds the two programs and nothing else: no shell, no libraries, no certificates. A server with a certificate of a public
# authority needs that authority's file mounted and named with --nats-ca.
#
#   docker run -v parley-data:/data -v parley-keys:/keys IMAGE run --data /data --shred-dir /keys
#   docker kill -s HUP NODE                                             replace the shred key now
#   docker run --rm --entrypoint /replay -v parley-data:/data:ro -v parley-keys:/keys:ro IMAGE list --data /data --shred-dir /keys
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags=-s -o /out/bin/ ./cmd/node ./cmd/replay
RUN mkdir -p /out/data /out/keys /out/tmp && chmod 0700 /out/data /out/keys && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /out/bin/ /
# A volume takes over the owner of the directory that it is first mounted on; replay copies what it reads to /tmp.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/keys /keys
COPY --from=build --chown=65532:65532 /out/tmp /tmp
USER 65532:65532
ENTRYPOINT ["/node"]
CMD ["run"]
