-- runs-with: 1
CREATE TABLE documents (
    collection text NOT NULL,
    id text NOT NULL,
    data jsonb NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, id)
);
