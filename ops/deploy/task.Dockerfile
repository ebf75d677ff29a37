# The base image for tasks where a registry gives Python: Python, msgspec and the SDK, compiled,
# nothing else. (Without a registry `headway image` makes the same from this machine's own Python.)
#
#   docker build -f ops/deploy/task.Dockerfile -t headway-base .
#
# No BuildKit-only syntax, so that both builders work.
ARG PYTHON=python:3.12-slim
FROM ${PYTHON}
ARG PIP_INDEX_URL
COPY .ci/locked/engine.txt /locked/
RUN sed -n '/^msgspec==/,/[^\\]$/p' /locked/engine.txt >/locked/msgspec.txt \
    && python3 -m pip install --no-cache-dir --require-hashes --only-binary :all: \
      -r /locked/msgspec.txt \
    && rm -rf /locked \
    && python3 -c "import os; [os.makedirs(p, exist_ok=True) for p in ('/run/hw', '/app')]" \
    && useradd --uid 1000 --no-create-home --home-dir /app --shell /bin/false task
COPY sdk/headway /opt/headway/headway
# A runner's root is read-only: what is not compiled here is compiled at every start.
ENV PYTHONPATH=/opt/headway
RUN python3 -m compileall -q -j0 /opt/headway \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" >/dev/null || true
WORKDIR /app
USER 1000
