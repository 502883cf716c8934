# The two stages that all service images share: `build` makes /opt/service, `run` is the base of the final image.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/lock.txt requirements/
COPY make/service_lock.py make/build-service make/
ENV PATH=/build/make:$PATH

FROM python:3.11.14-slim-bookworm AS run
RUN pip uninstall --quiet --yes pip setuptools wheel
ENV PATH=/opt/service/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# pixel-service also serves HTTP.
ENV BIND_HOST=0.0.0.0 GRPC_PORTS=8080 HTTP_PORT=8081
USER 10001:10001
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "adlib.rpc.healthcheck"]
