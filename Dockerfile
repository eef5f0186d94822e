# An image per target: gateway, triton-cpu, bench, builder. docs/docker.md tells how they run.
# BuildKit is not needed. A builder without it makes every stage above the target, so the largest comes last.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm
# NVIDIA's Triton as build_engines/nvidia_releases.py pins it; put the registry that has it in front.
ARG TRITON_IMAGE=tritonserver:26.08-py3


FROM ${PYTHON_IMAGE} AS python
# /tmp is the only folder that can be written at run time: the home of whatever wants one, under any uid.
ENV PATH=/opt/vitrine/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1


FROM python AS environment
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
RUN python3 -m venv /opt/vitrine


FROM environment AS gateway-environment
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY requirements/gateway.txt requirements/
# A third of what the wheels bring is debug symbols and their own tests.
RUN pip install --require-hashes -r requirements/gateway.txt \
    && find /opt/vitrine -name '*.so' -exec strip --strip-debug {} + \
    && find /opt/vitrine -name tests -type d -prune -exec rm -r {} +
COPY . .
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes setuptools pip


FROM python AS gateway
COPY --from=gateway-environment /opt/vitrine /opt/vitrine
ENV VITRINE_HOST=0.0.0.0 VITRINE_PORT=8080
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Without urllib, which would ask a proxy that the environment names.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-S", "-c", "import os; from http.client import HTTPConnection as http; c = http('127.0.0.1', int(os.environ['VITRINE_PORT']), timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "service"]


FROM environment AS triton-cpu-environment
COPY requirements/serve.txt requirements/
RUN pip install --require-hashes -r requirements/serve.txt
COPY . .
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes setuptools pip \
    && python -I -m embedded.container --prepare


FROM python AS triton-cpu
COPY --from=triton-cpu-environment /opt/vitrine /opt/vitrine
USER 10001:10001
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import asyncio, sys; from embedded.probes import triton_is_live; sys.exit(not asyncio.run(triton_is_live('127.0.0.1:8001')))"]
ENTRYPOINT ["python", "-m", "embedded.container"]
CMD ["/models"]


FROM environment AS bench-environment
COPY requirements/test.txt requirements/
RUN pip install --require-hashes -r requirements/test.txt
COPY . .
RUN pip install --no-deps --no-build-isolation .


FROM python AS bench
COPY --from=bench-environment /opt/vitrine /opt/vitrine
COPY --from=bench-environment /app /app
WORKDIR /app
USER 10001:10001
# Python ends by SIGINT also where it is process 1, which nothing ends that it does not handle.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "-m"]
CMD ["benchmarks.gateway"]


FROM ${TRITON_IMAGE} AS builder
ARG PIP_INDEX_URL
ENV PATH=/opt/vitrine/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/vitrine
COPY requirements/build.txt requirements/tensorrt.txt requirements/
RUN pip install --require-hashes -r requirements/build.txt \
    && pip install --require-hashes --no-deps --no-build-isolation -r requirements/tensorrt.txt
COPY . .
RUN pip install --no-deps --no-build-isolation .
# The bindings say what version they are, not what they loaded: ask the container's own library.
RUN python -c "import ctypes, sys; from build_engines.nvidia_releases import TARGET; \
    library = ctypes.CDLL('libnvinfer.so.' + TARGET.tensorrt.split('.')[0]); \
    parts = [getattr(library, f'getInferLib{part}Version')() for part in ('Major', 'Minor', 'Patch', 'Build')]; \
    found = '.'.join(map(str, parts)); \
    sys.exit(found != TARGET.tensorrt and f'TensorRT {found} is in this container, engines need {TARGET.tensorrt}')"
USER 10001:10001
# The folder that holds the repository, the reports and the cache (docker-compose.yml).
WORKDIR /workspace
ENV XDG_CACHE_HOME=/workspace/build/cache
STOPSIGNAL SIGINT
ENTRYPOINT ["build-engines"]
