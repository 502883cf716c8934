DROP TABLE zones;
DROP TABLE sites;
DROP TABLE publishers;
