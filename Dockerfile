# The web page, for a Hugging Face Space (CPU basic) or any server: docs/publishing.md
FROM python:3.11-slim-bookworm
# Libraries that OpenCV loads.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
# A Space runs the image as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /home/user/lipread
ENV PATH=/home/user/.local/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY --chown=user setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=user modeling_lipread modeling_lipread
COPY --chown=user lipread lipread
RUN pip install --user -c constraints.txt '.[app]'
COPY --chown=user app.py ./
COPY --chown=user examples/clip.mp4 examples/clip.mp4
EXPOSE 7860
CMD ["python", "app.py", "--host", "0.0.0.0"]
