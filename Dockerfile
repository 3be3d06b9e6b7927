# An image that serves examples/queue_broker; with another CMD and your own
# module below /app it serves yours.
#
#   docker build -t osbkit:0.2.0 .

FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock requirements-runtime.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
RUN python -m venv /opt/osbkit \
    && /opt/osbkit/bin/pip install --no-cache-dir --require-hashes \
        -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY osbkit osbkit
COPY migrations migrations
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
    && /opt/osbkit/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM python:3.11-slim
RUN groupadd --system --gid 10001 broker \
    && useradd --system --uid 10001 --gid broker --home-dir /data --no-create-home \
        broker \
    && install -d -o broker -g broker -m 0700 /data
COPY --from=build /opt/osbkit /opt/osbkit
COPY examples /app/examples
WORKDIR /app
USER 10001:10001
VOLUME /data
ENV PATH=/opt/osbkit/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    OSBKIT_HOST=0.0.0.0 \
    OSBKIT_PORT=8080 \
    OSBKIT_DATABASE_URL=sqlite:////data/osbkit.db \
    QUEUE_BROKER_DIR=/data/queues
EXPOSE 8080
ENTRYPOINT ["osbkit"]
CMD ["serve", "examples.queue_broker.app:app"]
