# The image holds the two programs and nothing else: no shell, no libraries, no certificates. A server with a certificate of a public
# authority needs that authority's file mounted and named with --nats-ca.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/ ./cmd/node ./cmd/replay

FROM scratch
COPY --from=build /out/node /node
COPY --from=build /out/replay /replay
ENTRYPOINT ["/node"]
CMD ["run"]
