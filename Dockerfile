# The image of every process of ours: web, worker, beat and the one-shot migration.

FROM python:3.12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# An index with CPU builds of torch, where the default one would bring the CUDA libraries (gigabytes).
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /build
# The dependencies in a layer of their own: a change of our code does not fetch them again.
COPY pyproject.toml setup.py constraints.txt README.md ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && /opt/venv/bin/pip install --quiet ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} -c constraints.txt -r requirements.txt
COPY kernels ./kernels
COPY inference_core ./inference_core
COPY scoring ./scoring
COPY admin_ui ./admin_ui
COPY riskapp ./riskapp
RUN /opt/venv/bin/pip install --quiet --no-deps -c constraints.txt . \
    # The kernels are optional on a host; in the image they must be there.
    && ls /opt/venv/lib/python3.12/site-packages/kernels/_native*.so

FROM python:3.12-slim
# libgomp: XGBoost's and torch's threads.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 riskapp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/riskapp --shell /usr/sbin/nologin riskapp \
    && install --directory --owner riskapp --group riskapp --mode 0700 /var/lib/riskapp
COPY --from=build /opt/venv /opt/venv
COPY manage.py /app/manage.py
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/var/lib/riskapp
# By number, so that a cluster can check that it is not root.
USER 10001:10001
VOLUME /var/lib/riskapp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0", "--port", "8000"]
