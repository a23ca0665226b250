# docker build -t perennial .
# docker run --rm -v "$PWD/results:/perennial/results" perennial bench mtil --strategy zscl
FROM python:3.12-slim

# Compiler and headers for dependencies without a wheel
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /perennial
RUN pip install --no-cache-dir "uv>=0.5"
COPY requirements.lock ./
RUN uv pip install --system --no-cache --requirements requirements.lock
COPY . .
RUN uv pip install --system --no-cache --no-deps --editable .
ENTRYPOINT ["python", "cli.py"]
CMD ["--help"]
