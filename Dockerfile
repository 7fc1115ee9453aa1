# ValueEval on a CPU:
#   docker build -t valueeval --build-arg PIP_ARGS="--extra-index-url …" .
#   docker run --rm -v "$PWD:/work" valueeval predict my.csv
# with the index of CPU builds that PyTorch's installation page names: they are gigabytes smaller.
# The data are not in the image: mount them, and set VALUEEVAL_DATA.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE MANIFEST.in constraints.txt ./
COPY plugin plugin
COPY valueeval_tasks valueeval_tasks
COPY adapters adapters
COPY train train
COPY leaderboard leaderboard
ARG PIP_ARGS=""
# torch first and alone, as in the Makefile.
RUN python -m venv /opt/valueeval \
    && /opt/valueeval/bin/pip install --no-cache-dir -c constraints.txt ${PIP_ARGS} torch \
    && /opt/valueeval/bin/pip install --no-cache-dir -c constraints.txt ${PIP_ARGS} '.[offline]'

FROM python:3.12-slim
COPY --from=build /opt/valueeval /opt/valueeval
RUN useradd --create-home user
USER user
WORKDIR /work
ENV PATH=/opt/valueeval/bin:$PATH
ENTRYPOINT ["valueeval"]
CMD ["--help"]
