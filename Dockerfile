# The image of one service: docker build --build-arg SERVICE=auth-service --tag auth-service .
FROM python:3.11.14-slim-bookworm AS build
ARG SERVICE
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/lock.txt requirements/
COPY make/service_lock.py make/
COPY protos/pyproject.toml protos/
COPY libs/pyproject.toml libs/
COPY ${SERVICE}/pyproject.toml ${SERVICE}/
# The service's part of the lock, checked by its hashes, and the tools that build its wheels.
RUN python make/service_lock.py "${SERVICE}" > run.txt \
 && python make/service_lock.py "${SERVICE}" --build > build.txt \
 && pip download --quiet --no-deps --require-hashes --only-binary :all: --dest /wheels -r run.txt \
 && pip install --quiet --no-deps --require-hashes --only-binary :all: -r build.txt
COPY protos/ protos/
COPY libs/ libs/
COPY ${SERVICE}/ ${SERVICE}/
# pip may choose from /wheels alone, so the service gets what it declares, in the locked versions.
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
# hadolint ignore=DL3013
RUN pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels ./protos ./libs "./${SERVICE}" \
 && python -m venv --without-pip /opt/service \
 && pip --python /opt/service/bin/python install --quiet "adplatform-${SERVICE}" \
 && echo "${SERVICE}" > name \
 && printf '#!/bin/sh\nexec python -m %s "$@"\n' "$(tr - _ < name)" > /opt/service/bin/service \
 && chmod 755 /opt/service/bin/service

FROM python:3.11.14-slim-bookworm
RUN pip uninstall --quiet --yes pip setuptools wheel
COPY --from=build /opt/service /opt/service
ENV PATH=/opt/service/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV BIND_HOST=0.0.0.0 GRPC_PORTS=8080 HTTP_PORT=8081
USER 10001:10001
# gRPC on 8080; pixel-service also serves HTTP on 8081.
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "adlib.rpc.healthcheck"]
ENTRYPOINT ["service"]
