DROP TABLE rejections;
DROP TABLE conversions;
DROP TABLE pixels;
